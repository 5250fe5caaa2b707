"""Parts of competing methods, one file a method or family; docs/controllers.md compares them."""
