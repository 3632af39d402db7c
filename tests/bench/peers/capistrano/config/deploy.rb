# As `cap install` leaves it, with what has to be said. config/deploy/bench.rb, with the servers, is made by the run.
set :application, 'bench'
# Beside the hosts, with no delay between: in Capistrano's favour.
set :repo_url, 'git://10.77.0.254/app.git'
set :branch, 'main'
set :deploy_to, '/srv/capistrano'
set :keep_releases, 5
