"""The two commands: traefikee on the machines of the cluster, traefikeectl from anywhere."""
