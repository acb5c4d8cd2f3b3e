package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/popdns/popdns/internal/dataset"
	"github.com/popdns/popdns/internal/publish"
	"github.com/popdns/popdns/internal/store"
)

// The exit statuses of all commands but check.
const (
	exitOK       = 0
	exitError    = 1
	exitChanges  = 2
	exitRefused  = 3
	exitConflict = 4
)

// statusError ends the command with a status and, unless err is set, without a message: the output has said it all.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

func isSilent(err error) bool {
	s, ok := errors.AsType[*statusError](err)
	return ok && s.err == nil
}

// preconditions are the errors that say "not in this state of the store".
var preconditions = []error{
	dataset.ErrConflict, dataset.ErrFrozen, dataset.ErrPresented, dataset.ErrSerial, dataset.ErrNotInHistory, dataset.ErrNoDataset, dataset.ErrNoStore, dataset.ErrClock,
	dataset.ErrUnsignedIdentity, publish.ErrOwnIdentity, publish.ErrEpoch, publish.ErrNoVariant, publish.ErrNotStaged, publish.ErrNoEarlier, store.ErrLocked,
}

func exitStatus(err error) int {
	if err == nil {
		return exitOK
	}
	if status, ok := errors.AsType[*statusError](err); ok {
		return status.status
	}
	if _, ok := errors.AsType[*publish.GuardError](err); ok {
		return exitRefused
	}
	for _, p := range preconditions {
		if errors.Is(err, p) {
			return exitConflict
		}
	}
	return exitError
}

// describe adds to an error what the user can do about it, where the error doesn't say so itself.
func (a *app) describe(err error) string {
	hint := ""
	switch {
	case errors.Is(err, store.ErrLocked):
		hint = fmt.Sprintf("waited %s; wait longer with --timeout", a.timeout)
	case errors.Is(err, store.ErrNoAuth):
		hint = "give credentials with POPDNS_AUTH or --auth-file"
	case errors.Is(err, store.ErrUnknownOutcome):
		hint = "it may have been written: look before trying again"
	case errors.Is(err, store.ErrUnavailable):
		hint = fmt.Sprintf("is the store %s running, and can it be reached from here?", a.url())
	case errors.Is(err, context.DeadlineExceeded):
		hint = fmt.Sprintf("gave up after %s, see --timeout", a.timeout)
	}
	if hint == "" {
		return err.Error()
	}
	return err.Error() + " (" + hint + ")"
}
