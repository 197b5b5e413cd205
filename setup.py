"""How LinkPeek is packaged: what it needs, what it offers and what it carries along."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

RUNTIME = [
    "ada-url>=1.15",  # the WHATWG address parser that browsers agree with
    "alembic>=1.13,<2",
    "celery>=5.5,<6",
    "click>=8.1,<9",
    "cryptography>=42",
    "dnspython>=2.6,<3",
    "kombu>=5.5,<6",
    "limits>=4,<6",
    "MarkupSafe>=2.1",
    "PasteDeploy>=3.1,<4",
    "Pillow>=10.3",
    "plaster>=1.1",
    "plaster_pastedeploy>=1.0,<2",
    "prometheus-client>=0.20",
    "pyramid>=2.1,<3",
    "pyramid_jinja2>=2.10,<3",
    "pyramid_tm>=2.5,<3",
    "SQLAlchemy>=2,<2.2",
    "transaction>=4",
    "uWSGI>=2.0.28,<2.1",  # the server that the one job starts
    "waitress>=3,<4",
    "WebOb>=1.8.9,<2",
    "zope.sqlalchemy>=3.1,<5",
]

EXTRAS = {
    "postgresql": ["psycopg[binary]>=3.1,<4"],
    "redis": ["redis>=6.4"],
    "s3": ["boto3>=1.34,<2"],
    # What deploy/ansible is run with.
    "deploy": ["ansible-core>=2.16,<3"],
    # What development.ini uses.
    "dev": ["pyramid_debugtoolbar>=4.12,<5"],
}
# What `make test`, `make lint` and `make dist` use.
EXTRAS["test"] = [
    *(requirement for extra in EXTRAS.values() for requirement in extra),
    "axe-playwright-python>=0.1.4",
    "beautifulsoup4>=4.12",
    "build>=1.2",
    "cheroot>=10,<12",  # the stack before uWSGI: deploy/legacy/requirements.txt
    "hypothesis>=6.100",
    "flask>=3",  # moto serves with these two
    "flask-cors>=4",
    "moto[s3]>=5",
    "mypy>=1.11",
    "packaging>=24",
    "Paste>=3.7,<4",
    "playwright>=1.45",  # drives the system's Chromium; downloads no browser
    "psutil>=6",
    "pytest>=8.2",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.7",
    "ruff>=0.8",
    "setuptools>=77",
    "supervisor>=4.2,<5",
    "WebTest>=3.0.1",
]
# What `make bench` measures beside uWSGI, and draws with.
EXTRAS["bench"] = [
    "bjoern>=3.2,<4",
    "cheroot>=10,<12",
    "granian>=2.5,<3",
    "gunicorn>=23",
    "matplotlib>=3.9",
    "Paste>=3.7,<4",
]


def shared_files() -> list[tuple[str, list[str]]]:
    """List what an installation puts under ``<environment>/share/linkpeek``.

    A wheel has no checkout beside it, so the two ini files and deploy/ travel
    as data files: ``pip install linkpeek`` leaves an operator with a
    production.ini to copy and a job to install.
    """
    folders: dict[str, list[str]] = {"share/linkpeek": ["development.ini", "production.ini"]}
    for path in sorted((HERE / "deploy").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(HERE)
            folders.setdefault(f"share/linkpeek/{name.parent.as_posix()}", []).append(name.as_posix())
    return sorted(folders.items())


setup(
    name="linkpeek",
    version="1.0.0",
    description="A self-hosted, real-time web page screenshot service",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="LinkPeek developers",
    license="MIT",
    keywords="screenshot thumbnail web page capture pyramid uwsgi",
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Environment :: Web Environment",
        "Framework :: Pyramid",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: WWW/HTTP :: WSGI :: Application",
        "Topic :: Multimedia :: Graphics :: Capture",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["linkpeek", "linkpeek.*"]),
    include_package_data=True,
    data_files=shared_files(),
    install_requires=RUNTIME,
    extras_require=EXTRAS,
    entry_points={
        "paste.app_factory": ["main = linkpeek:main"],
        "console_scripts": ["linkpeek = linkpeek.cli:main"],
    },
    zip_safe=False,
)
