package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
)

// These handlers make a service go wrong, each in one way.

// isMessage reports whether a request adds to a conversation.
func isMessage(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/messages") }

// again serves a request as often as more wants, and returns the last answer.
func again(next http.Handler, w http.ResponseWriter, r *http.Request, more func(times int, last *httptest.ResponseRecorder) bool) {
	content, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	for times := 1; ; times++ {
		r.Body = io.NopCloser(bytes.NewReader(content))
		recorder := httptest.NewRecorder()
		next.ServeHTTP(recorder, r)
		if !more(times, recorder) {
			copyAnswer(w, recorder)
			return
		}
	}
}

func copyAnswer(w http.ResponseWriter, recorder *httptest.ResponseRecorder) {
	for name, values := range recorder.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(recorder.Code)
	w.Write(recorder.Body.Bytes())
}

// revive deletes a lost conversation by itself and sends the message again.
func revive(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		again(next, w, r, func(times int, last *httptest.ResponseRecorder) bool {
			if last.Code != http.StatusGone || times > 1 {
				return false
			}
			path := strings.TrimSuffix(r.URL.Path, "/messages")
			next.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("DELETE", path, nil))
			return true
		})
	})
}

// repeat sends some messages twice.
func repeat(next http.Handler) http.Handler {
	var count atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		twice := isMessage(r) && count.Add(1)%5 == 0
		again(next, w, r, func(times int, _ *httptest.ResponseRecorder) bool { return twice && times == 1 })
	})
}

// confuse takes every conversation of an odd number for that of the even one before it.
func confuse(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := []byte(r.URL.Path)
		if digit := len(strings.TrimSuffix(r.URL.Path, "/messages")) - 1; strings.HasPrefix(r.URL.Path, "/conversations/") {
			path[digit] &^= 1
		}
		r.URL.Path = string(path)
		next.ServeHTTP(w, r)
	})
}

// blur replaces refusals by text.
func blur(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := httptest.NewRecorder()
		next.ServeHTTP(recorder, r)
		if recorder.Code >= http.StatusBadRequest && r.Method == http.MethodPost {
			http.Error(w, "something went wrong", recorder.Code)
			return
		}
		copyAnswer(w, recorder)
	})
}

// swallow drops some answers and their connections.
func swallow(next http.Handler) http.Handler {
	var count atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && count.Add(1)%100 == 0 {
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
}
