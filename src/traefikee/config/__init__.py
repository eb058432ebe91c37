"""Three configurations: static (what ``deploy`` gives), dynamic (what providers give), runtime (what became of it)."""
