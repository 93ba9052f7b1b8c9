from netbox.jobs import JobRunner, system_job


@system_job(interval=60)
class SpecimenJob(JobRunner):
    class Meta:
        name = "Count specimens"

    def run(self, *args, **kwargs):
        pass
