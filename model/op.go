package model

// Client, Session and Worker number what takes part in a run. Clients and sessions
// count from 1; Session 0 is none. A Worker is one incarnation, numbered from 1 in the
// order in which starts begin.
type (
	Client  uint8
	Session uint8
	Worker  uint16
)

// OpKind says what an Op does.
type OpKind uint8

// The operations: what clients do, what hooks answer, and time.
const (
	OpNone            OpKind = iota
	OpAcquire                // Client acquires, for Session or anonymously
	OpTry                    // Client tries to acquire, for Session or anonymously
	OpCancel                 // the context of Client's parked acquire ends
	OpRelease                // Client releases its lease; its worker is usable
	OpReleaseUnusable        // Client releases its lease; Usable says false
	OpDiscard                // Client discards its lease
	OpEndSession             // Session is ended
	OpRetire                 // Worker is reported dead
	OpResize                 // the bounds become Min and Max
	OpClose                  // a Close begins (or a Shutdown whose context lasts)
	OpForce                  // a Shutdown whose context has ended begins, or a begun one's ends
	OpStarted                // Worker's Start returns a worker
	OpStartFailed            // Worker's Start returns an error, or panics
	OpStopped                // Worker's Stop returns
	OpChecked                // Worker's Check returns nil
	OpCheckFailed            // Worker's Check returns an error, or panics
	OpTold                   // Worker's SessionEnded returns nil
	OpTellFailed             // Worker's SessionEnded returns an error, or panics
	OpTick                   // one tick of time passes
	OpGiveBack               // Client, whose context ended, gives back the lease that it was granted while it waited; Session: the one that the grant bound, if it bound one
)

// Op is one input of the machine. Fields that its kind does not name are zero.
type Op struct {
	Kind     OpKind
	Client   Client
	Session  Session
	Worker   Worker
	Min, Max uint8
}

// EventKind says what an Event reports.
type EventKind uint8

// The events: what a run shows from outside.
const (
	EvNone           EventKind = iota
	EvGranted                  // Client gets a lease of Worker; Fresh as the lease says
	EvRefused                  // Client's acquire or try fails for Reason
	EvRevoked                  // Client's lease is revoked
	EvStartBegun               // Worker's Start is called
	EvStartCancelled           // the context of Worker's running Start ends
	EvStopBegun                // Worker's Stop is called
	EvCheckBegun               // Worker's Check is called
	EvCheckCancelled           // the context of Worker's running Check ends
	EvTellBegun                // Worker's SessionEnded is called for Session
	EvTellCancelled            // the context of Worker's running SessionEnded ends
	EvClosed                   // every Close and Shutdown returns; Reason is ReasonNone or ReasonForced
)

// Reason says why an acquire was refused, or how closing ended.
type Reason uint8

// The reasons.
const (
	ReasonNone         Reason = iota
	ReasonCancelled           // the caller's context ended
	ReasonClosed              // ErrClosed
	ReasonLost                // ErrSessionLost
	ReasonLimit               // ErrSessionLimit
	ReasonStartFailed         // *StartError
	ReasonSaturated           // ErrSaturated
	ReasonNotAvailable        // ErrNotAvailable
	ReasonTimeout             // ErrAcquireTimeout
	ReasonForced              // *ShutdownError
)

// Event is one output of the machine. Fields that its kind does not name are zero.
type Event struct {
	Kind    EventKind
	Client  Client
	Session Session
	Worker  Worker
	Fresh   bool
	Reason  Reason
}
