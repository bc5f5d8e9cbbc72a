//go:build !amd64 && !arm64

package goid

const supported = false

// word is not called where it is not supported.
func word(uintptr) uint64 { panic("goid: not supported on this processor") }
