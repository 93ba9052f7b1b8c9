"""NetBox's WSGI application, which also serves static files: there is no web server in front of it here."""

from django.contrib.staticfiles.handlers import StaticFilesHandler

from netbox.wsgi import application

application = StaticFilesHandler(application)
