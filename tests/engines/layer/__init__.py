"""Code that functions under test find beside the artefact, as in a layer. Seen from there, it is in no package."""
