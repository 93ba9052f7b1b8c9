import os

bind = f"0.0.0.0:{os.environ.get('PORT', '8080')}"
workers = int(os.environ.get("WEB_WORKERS", "2"))
threads = int(os.environ.get("WEB_THREADS", "3"))
timeout = 120
max_requests = 5000
max_requests_jitter = 500
# The container's file system may be read-only, and a heartbeat on a slow disk would stop workers.
worker_tmp_dir = "/dev/shm"
control_socket_disable = True
accesslog = "-"
