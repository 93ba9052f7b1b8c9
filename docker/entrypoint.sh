#!/bin/sh
# Runs the program of a container: web, worker, migrate, or any command of NetBox.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

case "${1:-web}" in
    migrate)
        netbox upgrade --no-input --skip-static
        if [ -n "${SUPERUSER_PASSWORD:-}" ]; then
            netbox nbshell -c '
import os
from users.models import User

if not User.objects.filter(is_superuser=True).exists():
    User.objects.create_superuser(os.environ.get("SUPERUSER_NAME", "admin"), password=os.environ["SUPERUSER_PASSWORD"])
'
        fi
        ;;
    web)
        exec gunicorn --config "$here/gunicorn.conf.py" --chdir "$here" wsgi
        ;;
    worker)
        exec netbox rqworker
        ;;
    *)
        exec netbox "$@"
        ;;
esac
