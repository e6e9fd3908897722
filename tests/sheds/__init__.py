"""Providers for tests: put in place of lorry's own by `monkeypatch.setitem(plugins.KINDS, "providers", "sheds")`."""
