"""The web app and the HTTP API: one page and a service that hostile input does not harm; needs the extra ``web``."""
