package model

// fault is a mistake planted in the model, to test the explorer.
type fault uint8

const (
	faultNone           fault = iota
	faultUnboundedQueue       // MaxWaiters is ignored
	faultRevokedRelease       // the release of a revoked lease frees the slot of a worker
	faultRetiredServes        // a worker retired while leased goes on
	faultLostRebinds          // under Strict a lost session is bound again
	faultLostStuck            // waiters of a lost session are not told
	faultStartBeyond          // one start more than MaxSize
	faultSilentFailure        // waiters are not told that no start succeeds
	faultCheckAll             // every idle worker may be checked at once
	faultNoStart              // waiters cause no starts
	faultPastServes           // a worker past its limits goes on
	faultCloseStrands         // closing leaves the waiters where they are
	faultBoundStuck           // bound waiters are passed over
	faultNoProbe              // no start is tried after a back-off
)
