//go:build invariants

package pool

// checkInvariants has every update verify the core's books; set by all test targets.
const checkInvariants = true
