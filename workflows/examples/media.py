"""A media pipeline: a provider transcodes a film, thumbnails and captions are made, it is published.

Shows a suspended stage: while the provider works nothing runs and nothing is paid for; its job is asked
about at intervals.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, Field

from onewrite import Context, Pending, Suspend, Workflow, stage
from workflows.examples.outside import studio

ASK_EVERY = timedelta(seconds=2)
"""A real provider would be asked every minute or so; this one works for people who watch a demo."""
MINUTES_PER_THUMBNAIL = 10


class Upload(BaseModel):
    """A film that somebody uploaded."""

    title: str = Field(min_length=1, max_length=200)
    source: str = Field(pattern=r"^s3://")
    codec: str
    minutes: int = Field(gt=0, le=1440)
    languages: list[str] = Field(min_length=1)


class Job(BaseModel):
    """The provider's: what is asked about while the stage is suspended."""

    id: str
    minutes: int


class Media(BaseModel):
    address: str
    minutes: int


class Thumbnails(BaseModel):
    sheet: str
    images: int


class Captions(BaseModel):
    languages: list[str]


class Publication(BaseModel):
    address: str
    thumbnails: int
    languages: list[str]


def transcoded(ctx: Context, job: Job) -> Media | Pending:
    percent = studio.percent(job.id, job.minutes)
    if percent < 100:  # noqa: PLR2004 - percent
        return Pending(progress=percent / 100)
    return Media(address=f"https://media.example/{ctx.run_id[:8]}/film.mp4", minutes=job.minutes)


@stage(check=transcoded, every=ASK_EVERY, limit=timedelta(hours=6), timeout=timedelta(seconds=10))
def transcode(ctx: Context, upload: Upload) -> Media | Suspend[Job]:
    job = studio.submit(ctx.run_id, upload.source, upload.codec, upload.minutes)
    return Suspend(Job(id=job, minutes=upload.minutes))


@stage(timeout=timedelta(seconds=10))
def thumbnails(ctx: Context, media: Media) -> Thumbnails:
    sheet = studio.store(ctx.run_id, "thumbnails", "thumbnails.jpg")
    return Thumbnails(sheet=sheet, images=1 + media.minutes // MINUTES_PER_THUMBNAIL)


@stage(timeout=timedelta(seconds=10))
def captions(ctx: Context, _media: Media) -> Captions:
    languages = ctx.run_input(Upload).languages
    studio.store(ctx.run_id, "captions", f"captions-{'-'.join(languages)}.vtt")
    return Captions(languages=languages)


@stage(timeout=timedelta(seconds=10))
def publish(ctx: Context, thumbnails: Thumbnails, captions: Captions) -> Publication:
    address = studio.store(ctx.run_id, "published", "index.html")
    ctx.log.info("published", extra={"film": ctx.output(transcode).address, "page": address})
    return Publication(address=address, thumbnails=thumbnails.images, languages=captions.languages)


media = Workflow("media", input=Upload).then(transcode).together(thumbnails, captions).then(publish)
