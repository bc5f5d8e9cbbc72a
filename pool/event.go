package pool

import "fmt"

// EventKind says what an Event reports.
type EventKind uint8

// The kinds of events, with the fields that they set.
const (
	WorkerStarting    EventKind = iota + 1 // Worker: its Start is called
	WorkerStarted                          // Worker: its Start returned
	WorkerStartFailed                      // Worker, Err
	WorkerStopping                         // Worker, Err (the cause, nil in good order)
	WorkerStopped                          // Worker, Err (what Stop returned)
	CheckBegun                             // Worker
	CheckEnded                             // Worker, Err: of Check and SessionEnded
	AcquireParked                          // Session
	AcquireRefused                         // Session, Err
	LeaseGranted                           // Worker, Session, Token, Fresh
	LeaseEnded                             // Worker, Session, Err (why it must not be reused)
	LeaseRevoked                           // Worker
	SessionBound                           // Session, Worker; a grant that its caller no longer wants undoes it unsaid
	SessionLost                            // Session
	SessionEnded                           // Session: by EndSession or its time to live
	Resized                                // no field
	Closing                                // no field: Close or Shutdown was called
	Closed                                 // no field: they return
)

// String returns the kind in words.
func (k EventKind) String() string {
	names := [...]string{
		"none", "worker starting", "worker started", "worker start failed", "worker stopping",
		"worker stopped", "check begun", "check ended", "acquire parked", "acquire refused",
		"lease granted", "lease ended", "lease revoked", "session bound", "session lost",
		"session ended", "resized", "closing", "closed",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// Event is a state change, as Config.Observer is told. Fields that its kind does not
// name are zero.
type Event struct {
	Seq     uint64 // the number of the change: later changes have higher ones; one change may make several events
	Kind    EventKind
	Worker  WorkerID
	Session SessionID
	Token   Token
	Fresh   bool
	Err     error
}
