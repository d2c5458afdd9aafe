"""The upload form."""

from __future__ import annotations

from pathlib import Path

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile

from library.sources import LARGEST, SUFFIXES


class UploadForm(forms.Form):
    """One file, of a kind and size that the reading-room takes. Whether it is text is found out by its job."""

    file = forms.FileField(
        label="Document", widget=forms.FileInput(attrs={"accept": ",".join(sorted(SUFFIXES))})
    )

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        if Path(file.name or "").suffix.lower() not in SUFFIXES:
            raise ValidationError(f"The name must end in {', '.join(sorted(SUFFIXES))}.")
        if (file.size or 0) > LARGEST:
            raise ValidationError(f"The file must be at most {LARGEST:,} bytes.")
        return file
