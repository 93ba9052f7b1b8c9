"""NetBox's WSGI application, which also serves static files, because the tests have no web server before it."""

from django.contrib.staticfiles.handlers import StaticFilesHandler

from netbox.wsgi import application

application = StaticFilesHandler(application)
