"""The shop's frontend component: static files and error pages, served by uvicorn alone. Imports no Django."""
