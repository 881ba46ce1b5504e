"""Does it hold: kills, replicas, odd input?"""
