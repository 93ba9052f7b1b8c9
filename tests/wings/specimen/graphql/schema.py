import strawberry


@strawberry.type(name="Query")
class SpecimenQuery:
    @strawberry.field
    def specimen_name(self) -> str:
        return "specimen"


schema = [SpecimenQuery]
