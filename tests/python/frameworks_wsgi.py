"""The same site in Bottle, Pyramid and CherryPy: a page, a form with a redirect and a cookie, an upload, a streamed answer."""

LINES = 10_000


def lines():
    for number in range(LINES):
        yield b"line %d\n" % number


def bottle_site():
    import bottle

    site = bottle.Bottle()

    @site.get("/")
    def page():
        return "bottle says hello to %s" % bottle.request.query.name

    @site.post("/form")
    def form():
        bottle.response.set_cookie("seen", bottle.request.forms.name)
        bottle.redirect(bottle.request.script_name + "done")

    @site.post("/upload")
    def upload():
        return "%d bytes" % len(bottle.request.files["file"].file.read())

    @site.get("/stream")
    def stream():
        return lines()

    @site.get("/fail")
    def fail():
        raise RuntimeError("the view's own words")

    return site


def pyramid_site():
    from pyramid.config import Configurator
    from pyramid.httpexceptions import HTTPFound
    from pyramid.response import Response

    def page(request):
        return Response("pyramid says hello to %s" % request.params["name"])

    def form(request):
        answer = HTTPFound(request.script_name + "/done")
        answer.set_cookie("seen", request.POST["name"])
        return answer

    def upload(request):
        return Response("%d bytes" % len(request.POST["file"].file.read()))

    def stream(request):
        return Response(app_iter=lines())

    def fail(request):
        raise RuntimeError("the view's own words")

    config = Configurator()
    for name, view in {"": page, "form": form, "upload": upload, "stream": stream, "fail": fail}.items():
        config.add_route(name or "page", "/" + name)
        config.add_view(view, route_name=name or "page")
    return config.make_wsgi_app()


def cherrypy_site():
    import cherrypy

    cherrypy.config.update({"environment": "embedded"})
    # its own pages of errors are told of on standard error
    cherrypy.config.update({"log.screen": True})

    class Site:
        @cherrypy.expose
        def index(self, name):
            return "cherrypy says hello to %s" % name

        @cherrypy.expose
        def form(self, name):
            cherrypy.response.cookie["seen"] = name
            raise cherrypy.HTTPRedirect(cherrypy.request.script_name + "/done", 302)

        @cherrypy.expose
        def upload(self, file):
            return "%d bytes" % len(file.file.read())

        @cherrypy.expose
        def stream(self):
            return lines()

        stream._cp_config = {"response.stream": True}

        @cherrypy.expose
        def fail(self):
            raise RuntimeError("the view's own words")

    return cherrypy.Application(Site(), "/shop")
