//go:build !invariants

package pool

// checkInvariants has every update verify the core's books; see the build tag invariants.
const checkInvariants = false
