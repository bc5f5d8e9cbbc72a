//go:build race

package main

// race says that the race detector is on, which makes everything several times slower.
const race = true
