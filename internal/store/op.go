package store

import "fmt"

// OpKind tells what an Op does.
type OpKind uint8

// The kinds of Op.
const (
	OpCreate OpKind = iota + 1
	OpCreateEphemeral
	OpSet
	OpDelete
	OpCheck
)

// String returns the kind's name as it appears in errors.
func (k OpKind) String() string {
	switch k {
	case OpCreate:
		return "create"
	case OpCreateEphemeral:
		return "create ephemeral"
	case OpSet:
		return "set"
	case OpDelete:
		return "delete"
	case OpCheck:
		return "check"
	}
	return fmt.Sprintf("op %d", uint8(k))
}

// An Op is one operation of a Commit. The fields are for the implementations of Store; callers use the functions below.
type Op struct {
	Kind    OpKind
	Path    string
	Data    []byte // of Create, CreateEphemeral and Set
	Version int32  // of Set, Delete and Check
}

// Create makes a node. It fails with ErrExists if there is one, with ErrNoNode if the parent is missing.
func Create(path string, data []byte) Op {
	return Op{Kind: OpCreate, Path: path, Data: data, Version: AnyVersion}
}

// CreateEphemeral makes a node that is gone when this Store's session ends: at Close, when the process dies, or when the store could not reach
// its server for the session timeout. It can't have children.
func CreateEphemeral(path string, data []byte) Op {
	return Op{Kind: OpCreateEphemeral, Path: path, Data: data, Version: AnyVersion}
}

// Set replaces a node's data. It fails with ErrVersion unless the node is at that version, with ErrNoNode if there is none.
func Set(path string, data []byte, version int32) Op {
	return Op{Kind: OpSet, Path: path, Data: data, Version: version}
}

// Delete removes a node without children. It fails with ErrVersion, ErrNoNode or ErrNotEmpty. The root can't be deleted.
func Delete(path string, version int32) Op {
	return Op{Kind: OpDelete, Path: path, Version: version}
}

// Check changes nothing; it fails the commit unless the node exists at that version.
func Check(path string, version int32) Op {
	return Op{Kind: OpCheck, Path: path, Version: version}
}

// CheckOps reports, before anything is sent, what no store can apply: ErrInvalidPath, or ErrTooLarge when the data or the number of
// operations is above its bound. Implementations of Store call it first.
func CheckOps(ops []Op) error {
	if len(ops) > MaxCommitOps {
		return fmt.Errorf("commit of %d operations, at most %d: %w", len(ops), MaxCommitOps, ErrTooLarge)
	}
	total := 0
	for i, op := range ops {
		if err := CheckPath(op.Path); err != nil {
			return &OpError{Index: i, Kind: op.Kind, Path: op.Path, Err: err}
		}
		if op.Path == "" && (op.Kind == OpDelete || op.Kind == OpCreateEphemeral) {
			return &OpError{Index: i, Kind: op.Kind, Path: op.Path, Err: ErrInvalidPath}
		}
		total += len(op.Data)
		if total > MaxNodeBytes {
			return fmt.Errorf("commit: %w", &OpError{Index: i, Kind: op.Kind, Path: op.Path, Err: ErrTooLarge})
		}
	}
	return nil
}
