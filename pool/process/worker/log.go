package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync"

	"github.com/poolproof/poolproof/pool/process/internal/wire"
)

// LogHandler is a slog.Handler that sends records to the host's log, for records that are
// made with the context of a call, as by slog.InfoContext. It may be used concurrently.
// Handle blocks while the host does not read.
type LogHandler struct {
	attributes slog.Handler // renders attributes into out.text
	out        *rendered
}

type rendered struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

// NewLogHandler returns a handler for records of at least level; nil is slog.LevelInfo.
func NewLogHandler(level slog.Leveler) *LogHandler {
	out := new(rendered)
	drop := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}
	return &LogHandler{slog.NewJSONHandler(&out.text, &slog.HandlerOptions{Level: level, ReplaceAttr: drop}), out}
}

// Enabled reports whether records of a level are sent.
func (h *LogHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.attributes.Enabled(ctx, level)
}

// WithAttrs returns a handler that adds attributes.
func (h *LogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &LogHandler{h.attributes.WithAttrs(attrs), h.out}
}

// WithGroup returns a handler that puts attributes into a group.
func (h *LogHandler) WithGroup(name string) slog.Handler {
	return &LogHandler{h.attributes.WithGroup(name), h.out}
}

// Handle sends a record. Without the context of a call there is no host to send it to,
// which is an error.
func (h *LogHandler) Handle(ctx context.Context, record slog.Record) error {
	c := callOf(ctx)
	if c == nil {
		return errNoCall
	}
	h.out.mu.Lock()
	h.out.text.Reset()
	err := h.attributes.Handle(ctx, record)
	attributes := bytes.Clone(bytes.TrimSpace(h.out.text.Bytes()))
	h.out.mu.Unlock()
	if err != nil {
		return err
	}
	return c.server.sendLog(record.Level, record.Message, attributes)
}

// sendLog sends a log notification.
func (s *server) sendLog(level slog.Level, message string, attributes json.RawMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.startFrame()
	s.out.WriteString(`{"jsonrpc":"2.0","method":"log","params":{"level":"` + levelWord(level) + `","message":`)
	s.out.Write(wire.AppendString(nil, message))
	s.out.WriteString(`,"attributes":`)
	s.out.Write(attributes)
	s.out.WriteString("}}")
	return s.sendPlain()
}

// levelWord returns the protocol's word for a level.
func levelWord(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "error"
	case level >= slog.LevelWarn:
		return "warning"
	case level >= slog.LevelInfo:
		return "info"
	}
	return "debug"
}
