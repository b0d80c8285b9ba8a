"""The Python interface: a client, futures, results and live output. ``alb`` exports what users need."""
