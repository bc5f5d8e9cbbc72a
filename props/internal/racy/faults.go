// Package racy holds a small pool as people write them, with faults planted in it that show
// only if two callers interleave in one particular way. It knows nothing of package props,
// whose tests verify it; instrument it to see the faults between its own steps.
package racy

// Fault is what is wrong with a Pool.
type Fault int

// The faults. Plain ones show between hooks and calls; the others take a switch between two
// steps of the pool itself.
const (
	None             Fault = iota
	FailsQuietly           // plain: a failed create frees its slot and tells no waiter
	CreatesForGood         // plain: what was being created when the pool closed is kept
	KeepsOld               // plain: what was being created when the pool was reset is kept
	DiscardsQuietly        // plain: a slot freed by a discard goes to whoever waited before the destroy
	ChecksIntoPool         // plain: what was being checked when the pool closed is kept
	CountsLate             // the slot is counted after the lock under which it was free
	DropsGrant             // a cancel that meets a grant forgets it
	LooksFirst             // a cancel looks for a grant before it leaves the queue
	LooksTwice             // a caller that found nothing queues under another lock
	JoinsClosed            // a caller looks whether the pool is closed before it queues
	ReleasesIntoPool       // a release looks whether the pool is closed before it takes the lock
	TriesTwice             // a try looks under one lock and takes under another
	ShrinksTwice           // a shrink chooses under one lock and takes under another
	HandsOver              // a grant is dropped if the waiter is not yet waiting
	OneToken               // two releases leave one token for two waiters
	ClosesTwice            // two closes at once close a channel twice
	AddsLate               // a create is counted for Close once it has begun
	LosesCount             // two slots freed at once count as one
	Faults                 // how many there are
)

// Plain tells whether the fault shows without a switch between two steps of the pool.
func (f Fault) Plain() bool { return f <= ChecksIntoPool }

// String names the fault.
func (f Fault) String() string {
	return [...]string{
		"none", "fails quietly", "creates for good", "keeps old", "discards quietly", "checks into pool",
		"counts late", "drops grant", "looks first", "looks twice", "joins closed", "releases into pool", "tries twice",
		"shrinks twice", "hands over", "one token", "closes twice", "adds late", "loses count",
	}[f]
}
