//go:build race

package props

// raceDetector tells whether the race detector watches.
const raceDetector = true
