"""A shelf for files: put one there, take one away, or have a long answer made up on the way."""

import hashlib

from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET


def shelf(request):
    """The form, and where it is sent."""
    if request.method == 'POST':
        return put(request.FILES['file'])
    _, names = default_storage.listdir('') if default_storage.exists('') else ([], [])
    return render(request, 'shelf.html', {'names': sorted(names)})


def put(upload):
    name = default_storage.save(upload.name, upload)
    digest = hashlib.sha256()
    with default_storage.open(name) as stored:
        while piece := stored.read(1 << 20):
            digest.update(piece)
    return HttpResponse(f'{name} {upload.size} {digest.hexdigest()}\n', content_type='text/plain')


@require_GET
def download(request, name):
    """The file, a piece at a time."""
    if not default_storage.exists(name):
        raise Http404(name)
    return FileResponse(default_storage.open(name), as_attachment=True)


@require_GET
def numbers(request, lines):
    """A response that is never held as a whole, neither here nor on its way."""
    return StreamingHttpResponse((f'{number}\n' for number in range(lines)), content_type='text/plain')
