"""NetBox's WSGI application, which also serves the static files of the image."""

from django.conf import settings
from whitenoise import WhiteNoise

from netbox.wsgi import application

application = WhiteNoise(application, root=settings.STATIC_ROOT, prefix=settings.STATIC_URL)
