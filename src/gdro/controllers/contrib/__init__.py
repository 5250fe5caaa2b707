"""Parts of competing methods, one short file a method; docs/controllers.md compares them."""
