"""The figures that foxden is held to: medians, each as a ratio to a peer or a floor measured in the same run."""
