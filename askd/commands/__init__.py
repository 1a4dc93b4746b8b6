"""The subcommands of ``askd``, a module each: ABOUT (one line), EXAMPLES, ``add_arguments(parser)``, ``run(args)``."""
