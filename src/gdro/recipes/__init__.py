"""Recipes: settings that come with the package; `gdro train NAME` takes one by its name."""
