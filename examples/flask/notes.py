"""A Flask application: a form, a redirect, a cookie, an upload, a streamed answer."""

from flask import Flask, redirect, request, session, stream_with_context, url_for

app = Flask(__name__)
app.secret_key = "for development: take another where others are served"

PAGE = """<!DOCTYPE html><title>Notes</title><p>%s</p>
<form method="post" enctype="multipart/form-data"><input name="note"><input type="file" name="file"><button>Keep</button></form>"""


@app.get("/")
def index():
    return PAGE % ("Notes kept: %d" % session.get("kept", 0))


@app.post("/")
def keep():
    session["kept"] = session.get("kept", 0) + 1
    file = request.files.get("file")
    session["last"] = "%s, %d bytes" % (request.form["note"], len(file.read()) if file else 0)
    return redirect(url_for("last"))


@app.get("/last")
def last():
    return {"last": session.get("last"), "root": request.script_root}


@app.get("/stream")
def stream():
    def lines():
        for number in range(10000):
            yield "%s line %d\n" % (request.args.get("name", "a"), number)

    return app.response_class(stream_with_context(lines()), mimetype="text/plain")
