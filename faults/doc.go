// Package faults harms pools and their workers on purpose, and proves that it did.
package faults
