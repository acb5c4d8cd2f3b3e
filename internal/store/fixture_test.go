package store_test

import (
	"context"
	"os"
	"testing"
)

type ctx = context.Context

var scratch string

func exampleDir() string { return scratch }

func exampleContext() context.Context { return context.Background() }

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "popdns-store"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}
