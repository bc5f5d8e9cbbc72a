package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/poolproof/poolproof/pool"
	"github.com/poolproof/poolproof/pool/process"
)

// problem is the answer to a request that failed.
type problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`

	// For bad input: what is wrong, what it was, and what would have been right.
	Field   string `json:"field,omitempty"`
	Given   string `json:"given,omitempty"`
	Allowed string `json:"allowed,omitempty"`

	status     int
	retryAfter string // in seconds; empty: retrying cannot help
}

// Error gives the message.
func (p *problem) Error() string { return p.Message }

// badInput is the problem with a field of a request.
func badInput(field, given, allowed string) *problem {
	return &problem{
		status: http.StatusBadRequest, Code: "bad_input", Message: "the request's " + field + " is not allowed",
		Field: field, Given: clip(given), Allowed: allowed,
	}
}

// clip shortens what is quoted to a reader.
func clip(s string) string {
	const most = 60
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

// problemOf turns any error of a request into the answer that tells the client what to do
// next. Which workers failed and how is for the log; clients learn the kind alone.
//
// The order matters where one error wraps another: a *StartError what Start returned, say,
// or ErrAcquireTimeout context.DeadlineExceeded.
func problemOf(err error) *problem {
	var (
		known  *problem
		turn   *turnError
		start  *pool.StartError
		remote *process.RemoteError
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &turn):
		return turnProblem(turn)
	case errors.Is(err, pool.ErrClosed), errors.Is(err, process.ErrStopped):
		return &problem{
			status: http.StatusServiceUnavailable, Code: "closing", retryAfter: "5",
			Message: "the service is ending",
		}
	case errors.Is(err, pool.ErrSessionLost):
		return &problem{
			status: http.StatusGone, Code: "conversation_lost",
			Message: "the worker that held the conversation is gone: delete the conversation, then start it anew",
		}
	case errors.Is(err, pool.ErrSessionLimit):
		return &problem{
			status: http.StatusServiceUnavailable, Code: "too_many_conversations", retryAfter: "10",
			Message: "there is no room for one more conversation until another is deleted",
		}
	case errors.As(err, &start):
		return &problem{
			status: http.StatusServiceUnavailable, Code: "no_worker", retryAfter: "2",
			Message: "no worker could be started",
		}
	case errors.Is(err, pool.ErrSaturated):
		return &problem{
			status: http.StatusServiceUnavailable, Code: "saturated", retryAfter: "1",
			Message: "too many requests are waiting already",
		}
	case errors.Is(err, pool.ErrAcquireTimeout):
		return &problem{
			status: http.StatusServiceUnavailable, Code: "busy", retryAfter: "1",
			Message: "no worker came free in time; nothing was done",
		}
	case errors.Is(err, context.DeadlineExceeded):
		return &problem{
			status: http.StatusGatewayTimeout, Code: "deadline",
			Message: "the worker took too long and was stopped; a conversation that it held is lost",
		}
	case errors.Is(err, process.ErrBroken):
		return &problem{
			status: http.StatusBadGateway, Code: "worker_died",
			Message: "the worker died during the request; a conversation that it held is lost",
		}
	case errors.Is(err, context.Canceled):
		return &problem{
			status: http.StatusServiceUnavailable, Code: "cancelled",
			Message: "the client left while it waited for a worker; nothing was done",
		}
	case errors.As(err, &remote):
		return &problem{
			status: http.StatusInternalServerError, Code: "worker_failed",
			Message: "the worker could not do it; it goes on and holds what it held",
		}
	}
	return &problem{status: http.StatusInternalServerError, Code: "internal", Message: "the service failed"}
}

// turnProblem tells a conversation that has expired from a message that came twice or out
// of order.
func turnProblem(e *turnError) *problem {
	if e.want == 1 {
		return &problem{
			status: http.StatusGone, Code: "conversation_expired",
			Message: "the conversation is over or never was: start it anew with turn 1",
		}
	}
	return &problem{
		status: http.StatusConflict, Code: "wrong_turn",
		Message: "the conversation is at another turn; nothing was done",
		Field:   "turn", Given: decimal(e.given), Allowed: decimal(e.want),
	}
}
