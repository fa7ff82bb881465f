"""Files of jobs and of users: trials, structures, potentials."""
