package dataset

import (
	"errors"
	"fmt"
)

// The reasons of a Refusal: a bounded set, fit for a metric's label.
const (
	ReasonHead    = "head"      // the head is missing, unreadable or contradicts itself
	ReasonDelta   = "delta"     // a log entry is missing, damaged or can't be applied
	ReasonBase    = "base"      // the image is missing, damaged or can't be decoded
	ReasonSum     = "sum"       // what came out is not what the head states
	ReasonChain   = "chain"     // the changes that were read are not those that led to the head
	ReasonSigned  = "signature" // the head, or the adoption that it needs, is not signed by a trusted key
	ReasonSerial  = "serial"    // the serial went back, or another version bears the same one
	ReasonCluster = "cluster"   // the head is of another cluster that did not adopt the served one, or of an epoch that is over
	ReasonName    = "name"      // the head is of another dataset or kind
	ReasonSize    = "size"      // larger than the bound
	ReasonGuard   = "guard"     // the Accept hook said no
)

// A Refusal says why a version was not taken. It is an error; Load, LoadSerial and Commit wrap it too.
type Refusal struct {
	Serial uint32 // of the refused head, 0 if it could not be read
	Reason string
	Err    error
}

// Error implements error.
func (r Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the cause.
func (r Refusal) Unwrap() error { return r.Err }

func refuse(reason, format string, args ...any) Refusal {
	return Refusal{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// asRefusal finds the Refusal in err and notes the serial of the head it is about.
func asRefusal(err error, serial uint32) (Refusal, bool) {
	var r Refusal
	if !errors.As(err, &r) {
		return Refusal{}, false
	}
	if r.Serial == 0 {
		r.Serial = serial
	}
	return r, true
}

// mayHeal tells whether reading the same head again may succeed: its nodes may be repaired, or were just being collected.
func (r Refusal) mayHeal() bool {
	switch r.Reason {
	case ReasonDelta, ReasonBase, ReasonSum, ReasonChain, ReasonSize:
		return r.Serial != 0
	}
	return false
}
