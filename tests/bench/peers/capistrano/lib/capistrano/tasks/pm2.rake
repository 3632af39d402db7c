namespace :pm2 do
  task :restart do
    on roles(:app) do
      within current_path do
        execute :pm2, 'startOrReload', 'ecosystem.config.js'
      end
    end
  end
end

after 'deploy:publishing', 'pm2:restart'
