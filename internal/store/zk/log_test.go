package zk

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestALineIsRepeatedOnlyForAnotherReason(t *testing.T) {
	refused := func(port int) error {
		return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{Port: port}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	expired := func(at time.Time) error {
		return fmt.Errorf("TLS: %w", x509.CertificateInvalidError{Reason: x509.Expired, Detail: at.String()})
	}
	var told []int
	line := 0
	l := newLogger(func(string, ...any) { told = append(told, line) }, func() {})
	for _, err := range []error{
		refused(1), refused(2), expired(time.Unix(1, 0)), expired(time.Unix(2, 0)), refused(3),
		os.NewSyscallError("connect", syscall.EHOSTUNREACH), errors.New("no x509"),
	} {
		l.Printf("failed to connect to %s: %v", fmt.Sprint("10.0.0.", line), err)
		line++
	}
	if want := []int{0, 2, 5, 6}; !slices.Equal(told, want) {
		t.Errorf("lines %v were told, want %v", told, want)
	}
}
