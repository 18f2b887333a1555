"""
URL configuration for shelf project.
"""

from django.contrib import admin
from django.urls import path

from . import views

urlpatterns = [
    path('', views.shelf, name='shelf'),
    path('files/<str:name>', views.download, name='download'),
    path('numbers/<int:lines>', views.numbers, name='numbers'),
    path('admin/', admin.site.urls),
]
