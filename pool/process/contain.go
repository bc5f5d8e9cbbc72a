package process

import (
	"context"
	"log/slog"

	"github.com/poolproof/poolproof/pool"
)

// contain runs a function of a Config's, on a goroutine that is not the user's to end. A
// panic in it is logged and reaches nobody else (I11).
func contain(logger *slog.Logger, name string, id pool.WorkerID, f func()) {
	defer func() {
		if v := recover(); v != nil {
			logger.LogAttrs(context.Background(), slog.LevelError, "panic in "+name,
				slog.Uint64("worker", uint64(id)), slog.Any("panic", v))
		}
	}()
	f()
}

// containedHandler is a handler of log records whose panics end nothing but the record.
type containedHandler struct{ slog.Handler }

// contained returns a logger that never panics: a discarding one for nil.
func contained(logger *slog.Logger) *slog.Logger {
	if logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	if _, ok := logger.Handler().(containedHandler); ok {
		return logger
	}
	return slog.New(containedHandler{logger.Handler()})
}

// Handle implements slog.Handler.
func (h containedHandler) Handle(ctx context.Context, r slog.Record) error {
	defer func() { _ = recover() }() // there is no other place to report it
	return h.Handler.Handle(ctx, r)
}
