"""template.yaml as it is in the repository, deployed to LocalStack, with functions from the built artefact."""
