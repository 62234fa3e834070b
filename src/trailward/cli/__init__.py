"""The command line: ``trailward VERB --help`` tells each verb's flags."""
