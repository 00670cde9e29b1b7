"""Transfer learning: what weights of another set add, measured arm beside arm."""
