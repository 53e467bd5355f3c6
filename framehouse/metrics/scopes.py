"""Whose a column is: what one SELECT reads of a source of raw facts, and where it stands."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp

from framehouse.metrics.rollups import ATTEMPTS, HEARTBEATS, Source

SOURCES: dict[str, Source] = {source.table: source for source in (ATTEMPTS, HEARTBEATS)}


class StaysRaw(Exception):  # noqa: N818 - no error: the answer to a question
    """A SELECT cannot be read from rollups; the message says why."""


@dataclass(frozen=True, slots=True)
class ColumnFact:
    """What a database says of a column."""

    type: str
    is_not_null: bool


#: Columns by the relation's name (`schema.table`).
Relations = Mapping[str, Mapping[str, ColumnFact]]


def source_tables(tree: exp.Expr) -> list[tuple[exp.Table, Source]]:
    """Every place in which a query reads raw facts: by their full name, or by the plain one, which the path finds."""
    found = []
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier) or table.catalog:
            continue
        for name, source in SOURCES.items():
            schema, _, plain = name.partition(".")
            if table.name == plain and (table.db == schema or (not table.db and not _is_hidden(table))):
                found.append((table, source))
    return found


def _is_hidden(table: exp.Table) -> bool:
    """Whether a plain name is that of a query in WITH, as far as that can be seen from here."""
    node: exp.Expr = table
    while (parent := node.parent) is not None:
        if isinstance(parent, exp.With):  # from within one of its queries those before are seen
            ctes = parent.expressions
            seen = ctes if parent.recursive else ctes[: next(n for n, cte in enumerate(ctes) if cte is node)]
            node = parent.parent or parent
        else:
            found = parent.args.get("with_")
            seen = found.expressions if found else []
            node = parent
        if any(cte.alias == table.name for cte in seen):
            return True
    return False


def relation_names(tree: exp.Expr) -> list[str]:
    """The names, without schemas, of all relations that a query names."""
    return sorted({table.name for table in tree.find_all(exp.Table)})


class Scope:
    """One SELECT that reads one source, and the columns of that source in it."""

    def __init__(self, table: exp.Table, source: Source, relations: Relations) -> None:
        self.table, self.source, self.relations = table, source, relations
        self.columns = relations.get(source.table, {})
        self.alias = table.alias_or_name
        found = _select_of(table)
        if not isinstance(found, exp.Select):
            raise StaysRaw(f"its FROM is written in a way that leaves {source.table} no place of its own")
        self.select = found
        alias = table.args.get("alias")
        if alias and alias.columns:
            raise StaysRaw("its FROM gives the columns other names")

    def check(self) -> None:
        """Raise StaysRaw where the SELECT sees more of its rows than columns."""
        self._check_from()
        self._check_names()

    def _check_from(self) -> None:
        if sum(_select_of(table) is self.select for table, _ in source_tables(self.select)) > 1:
            raise StaysRaw("it joins raw rows with raw rows")
        if any(self.table.args.get(key) for key in ("only", "sample", "joins", "pivots", "ordinality")):
            raise StaysRaw("its FROM asks for more than the relation")
        for join in self.select.args.get("joins") or []:
            side, is_ours = str(join.args.get("side") or ""), join.this is self.table
            if join.args.get("using") or join.args.get("method"):
                raise StaysRaw("it joins by columns' names (USING, NATURAL); say ON")
            if side in {"RIGHT", "FULL"} or (side and is_ours):
                raise StaysRaw("an outer join gives rows that no attempt stands behind")

    def _check_names(self) -> None:
        for node in self.nodes():
            if isinstance(node, exp.Star) and not (
                isinstance(node.parent, exp.Anonymous) and node.parent.name.lower() == "count"
            ):
                raise StaysRaw("it asks for all columns (*)")
            if isinstance(node, exp.Column) and not node.table and node.name == self.alias:
                raise StaysRaw("it asks for whole rows")
        for query in self._inner_queries():
            self._check_inner(query)

    def nodes(self, root: exp.Expr | None = None) -> Iterator[exp.Expr]:
        """The nodes of the SELECT (or of an expression in it), without those of queries inside it."""
        top = self.select if root is None else root
        return top.walk(prune=lambda node: node is not self.select and isinstance(node, exp.Query))

    def ours(self, root: exp.Expr) -> list[exp.Column]:
        """The columns of the source in an expression."""
        return [node for node in self.nodes(root) if isinstance(node, exp.Column) and self.is_ours(node)]

    def ours_outside(self, left_out: set[int]) -> Iterator[exp.Column]:
        """The columns of the source in the SELECT but for some parts of it (by their nodes' ids)."""
        for node in self.select.walk(
            prune=lambda node: (
                id(node) in left_out or (node is not self.select and isinstance(node, exp.Query))
            )
        ):
            if isinstance(node, exp.Column) and id(node) not in left_out and self.is_ours(node):
                yield node

    def is_ours(self, column: exp.Column) -> bool:
        """Whether a column of the SELECT is the source's. The database has said that no name is ambiguous."""
        if column.table:
            return column.table == self.alias
        ordered = column.parent
        if isinstance(ordered, exp.Ordered) and isinstance(ordered.parent, exp.Order):
            is_last = ordered.parent.parent is self.select
            if is_last and column.name in {one.alias for one in self.select.expressions}:
                return False  # ORDER BY means the output's column first
        return column.name in self.columns

    def is_only_ours(self, root: exp.Expr) -> bool:
        """Whether an expression is about columns of the source and nothing else."""
        nodes = list(self.nodes(root))
        if any(isinstance(node, exp.Query) for node in nodes):
            return False
        return all(self.is_ours(node) for node in nodes if isinstance(node, exp.Column))

    def _inner_queries(self) -> Iterator[exp.Query]:
        """Queries inside that see the SELECT's columns: in expressions, and after LATERAL."""
        for node in self.nodes():
            if isinstance(node, exp.Query) and node is not self.select:
                is_from = isinstance(node.parent, (exp.From, exp.Join, exp.CTE))
                if not is_from:
                    yield node

    def _check_inner(self, query: exp.Query) -> None:
        """Refuse a query inside that may mean this SELECT's rows; what is left of them has other columns."""
        for column in query.find_all(exp.Column):
            is_named = column.table == self.alias or (not column.table and column.name == self.alias)
            is_plain = not column.table and column.name in self.columns
            if (is_named and not self._is_own_alias(column, query)) or (
                is_plain and not self._is_own(column, query)
            ):
                raise StaysRaw(f"a query inside it may mean its rows' {column.name}")

    def _is_own_alias(self, column: exp.Column, query: exp.Query) -> bool:
        return any(
            source.alias_or_name == self.alias
            for select in _selects_around(column, query)
            for source in _sources(select)
        )

    def _is_own(self, column: exp.Column, query: exp.Query) -> bool:
        """Whether a relation that is read within the query surely has the column."""
        return any(
            column.name in self.relations.get(_full_name(source, self.relations), {})
            for select in _selects_around(column, query)
            for source in _sources(select)
            if isinstance(source, exp.Table)
        )


def _select_of(table: exp.Table) -> exp.Expr | None:
    return table.parent.parent if isinstance(table.parent, (exp.From, exp.Join)) else None


def _selects_around(column: exp.Column, outermost: exp.Query) -> Iterator[exp.Select]:
    """The SELECTs that a column stands in, from the inside out, up to a query."""
    node: exp.Expr | None = column
    while node is not None:
        if isinstance(node, exp.Select):
            yield node
        node = None if node is outermost else node.parent


def _sources(select: exp.Select) -> Iterator[exp.Expr]:
    if from_ := select.args.get("from_"):
        yield from_.this
    for join in select.args.get("joins") or []:
        yield join.this


def _full_name(table: exp.Table, relations: Relations) -> str:
    if table.db:
        return f"{table.db}.{table.name}"
    named = [name for name in relations if name.rpartition(".")[2] == table.name]
    return named[0] if len(named) == 1 else ""
